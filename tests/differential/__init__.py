"""A naive evaluator beside the streaming one: both must say the same of random mails, maps and
segmentations."""
