"""What each panel and page shows, as plain values: templates only lay it out."""
