"""stub"""
def write_page(data, folder): pass
