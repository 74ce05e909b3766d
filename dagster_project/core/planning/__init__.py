"""What a changed playbook would do before it does it; all of it pure."""
