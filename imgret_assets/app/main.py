"""The script Streamlit runs for every view of the page.

Belongs here: nothing but the start. Not here: what the page shows (`app.search_page`). Streamlit puts this folder
on the module path, so no file in it may bear the name of somebody else's module.
"""

from imgret_assets.app.search_page import show_page

show_page()
