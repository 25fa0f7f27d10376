"""`make bench`: every figure beside its floor, taken in the same run. Not part of `make test`."""
