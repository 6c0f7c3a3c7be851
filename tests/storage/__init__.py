"""Storage: the ledger, jobs, fairness, the wire, migrations."""
