"""What every other part of the frame builds on: errors, files, digests, random streams, cells."""
