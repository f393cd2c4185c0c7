"""What a lecturer needs: exercises made from solutions, personal codes, notebooks graded as data, a report."""
