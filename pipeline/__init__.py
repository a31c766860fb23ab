"""The online service: posts from Kafka, labelled, indexed, watched for spikes of the negative share."""
