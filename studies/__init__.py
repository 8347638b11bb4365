"""Published and measured results made again: each study a folder with a README.md."""
