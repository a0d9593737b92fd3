"""What people run around the labelling job: `nightly` runs, `submission` to a cluster, and `cleaning` an output."""
