"""The frame of Triptych: losses, fair comparison, running. It knows no modality."""
