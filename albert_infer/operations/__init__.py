"""The program `albert-infer` and its commands: `nightly`, `submission`, `cleaning` and others."""
