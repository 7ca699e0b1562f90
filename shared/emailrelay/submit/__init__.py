"""Mail from programs on this host: a message on standard input goes into the spool."""
