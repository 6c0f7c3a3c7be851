"""The words and the facts: schema, errors, tables, ledger, queue and blobs."""
