"""The Streamlit pages: they draw, `ops` works."""
