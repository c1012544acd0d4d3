"""The daemon: owns the LMDB environment and serves it over a Unix socket."""
