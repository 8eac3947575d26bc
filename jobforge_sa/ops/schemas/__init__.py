"""JSON Schemas (2020-12) of the SQL contract and of payloads, for clients in other languages."""
