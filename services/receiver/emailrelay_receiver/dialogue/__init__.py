"""The SMTP dialogue as plain rules: command lines in, outcomes out, no I/O."""
