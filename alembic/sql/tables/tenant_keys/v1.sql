-- The keys that sign tenant tokens, as HMAC-SHA256 uses them: the secret xor 0x36 and xor 0x5c, 64 bytes each. Whoever
-- reads a row can name any tenant, so nobody may; a dump holds them and is as secret as they are.
create table jobforge.tenant_keys (
    key_id     text collate "C" primary key,
    inner_pad  bytea            not null,
    outer_pad  bytea            not null,
    created_at timestamptz      not null,
    retired_at timestamptz                     -- from then on its tokens are refused
);

alter table jobforge.tenant_keys enable row level security;
alter table jobforge.tenant_keys force row level security;
create policy tenant_keys_owner on jobforge.tenant_keys to jobforge_owner
    using (current_user = 'jobforge_owner') with check (current_user = 'jobforge_owner');

comment on table jobforge.tenant_keys is 'The keys that sign tenant tokens. Readable by nobody.';
