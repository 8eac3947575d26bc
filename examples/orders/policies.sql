-- Who sees what of the shops' tables: each shop its own rows, by the tenant of the transaction; without one, nothing.
-- "(select ...)" has the function called once for a statement instead of once for a row. FORCE binds the owner too.
grant usage on schema demo_orders to demo_orders, jobforge_admin;
grant usage on all sequences in schema demo_orders to demo_orders;
grant select on all tables in schema demo_orders to jobforge_admin;

alter table demo_orders.orders enable row level security, force row level security;
create policy own_shop on demo_orders.orders to demo_orders using (shop = (select jobforge.current_tenant()));
create policy all_shops on demo_orders.orders for select to jobforge_admin using (true);
grant select, insert on demo_orders.orders to demo_orders;

alter table demo_orders.invoices enable row level security, force row level security;
create policy own_shop on demo_orders.invoices to demo_orders using (shop = (select jobforge.current_tenant()));
create policy all_shops on demo_orders.invoices for select to jobforge_admin using (true);
grant select, insert on demo_orders.invoices to demo_orders;

-- a bad line may name no shop at all: the import writes it down, operators read it
alter table demo_orders.problems enable row level security, force row level security;
create policy note on demo_orders.problems for insert to demo_orders with check (true);
create policy all_shops on demo_orders.problems for select to jobforge_admin using (true);
grant insert on demo_orders.problems to demo_orders;
