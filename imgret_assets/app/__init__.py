"""The Streamlit page: drawing only; all answers come from `imgret_assets.domain`."""
