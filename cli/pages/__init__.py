"""What commands show: terminal summaries, HTML pages and their pictures."""
