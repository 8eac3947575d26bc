-- The application's own tables: what its transactions and its handlers write.
create table if not exists shop_orders (
    id        bigint generated always as identity primary key,
    tenant_id text   not null,
    name      text   not null
);
create table if not exists shop_labels (
    order_id  bigint not null,
    tenant_id text   not null,
    weight    numeric not null,
    printed_by integer not null -- the process that ran the handler
);
