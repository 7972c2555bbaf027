"""The kernel's side of the filter: queue, worker, control socket."""
