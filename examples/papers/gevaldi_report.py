def write_report(results):
    print(results)
