"""Who may do what: keys and their books, money and rates, viewer tokens, origins of browsers."""
