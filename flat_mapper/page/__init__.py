"""The report page: one HTML file from saved answers and sweeps."""
