"""Because of this file pytest lets the tests in all folders import what stands beside it."""
