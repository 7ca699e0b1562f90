"""The rules for clients, with their limits, secrets, certificates and address verifiers."""
