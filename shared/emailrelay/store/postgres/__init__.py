"""The PostgreSQL store: one queue for many hosts."""
