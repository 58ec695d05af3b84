
mainhello
