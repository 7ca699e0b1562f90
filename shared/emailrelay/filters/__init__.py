"""Running the administrator's filter programs."""
