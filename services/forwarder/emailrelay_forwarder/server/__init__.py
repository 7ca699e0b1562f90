"""One next server over time: its sessions, its limits, its pauses."""
