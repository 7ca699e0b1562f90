"""Who may connect, log in and send mail, and to whom: limits, secrets, certificates, verifiers."""
