"""The store on Elasticsearch."""
