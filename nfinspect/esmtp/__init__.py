"""The ESMTP inspection: verbs, dialogue, scanners, clauses, inspector."""
