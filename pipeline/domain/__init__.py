"""The values, errors and metrics that every room shares. Imports no other room of the pipeline."""
