"""What tests are run with: files of cases, simulated networks, disks and clocks, checkers."""
