"""What a report says, as sections, tables and sentences that every renderer draws."""
