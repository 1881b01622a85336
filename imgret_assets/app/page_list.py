"""The list of pages, in the order of the menu.

Belongs here: name, title, icon and function of each page. Not here: names in addresses and links between pages
(`app.navigation`), what a page shows (`app.views`).
"""

from imgret_assets.app import navigation
from imgret_assets.app.navigation import PageSpec
from imgret_assets.app.views.compare_page import show_compare
from imgret_assets.app.views.duplicates_page import show_duplicates
from imgret_assets.app.views.graph_page import show_graph
from imgret_assets.app.views.groups_page import show_groups
from imgret_assets.app.views.overview_page import show_overview
from imgret_assets.app.views.review_page import show_review
from imgret_assets.app.views.search_page import show_search

PAGES = (
    PageSpec(navigation.SEARCH, "Search", "image_search", show_search),
    PageSpec(navigation.DUPLICATES, "Duplicates", "content_copy", show_duplicates),
    PageSpec(navigation.GROUPS, "Groups", "grid_view", show_groups),
    PageSpec(navigation.GRAPH, "Graph", "hub", show_graph),
    PageSpec(navigation.COMPARE, "Compare", "compare", show_compare),
    PageSpec(navigation.REVIEW, "Review", "fact_check", show_review),
    PageSpec(navigation.OVERVIEW, "Overview", "monitoring", show_overview),
)
