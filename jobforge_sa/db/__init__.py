"""The database's side, as Python knows it: calls, migrations, the catalog. No policy of its own."""
