"""The command ``emailrelay-setup``: makes a machine ready for the services, and undoes that."""
