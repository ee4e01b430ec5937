"""The daemon: due slots, attempts at them, the watchdog, delivery threads, health probes."""
