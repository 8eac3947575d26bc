"""An importer of orders whose jobs commit with the orders. Run it: `make demo`.

To be read in this order: `models` (the tables), `tasks` (the jobs), `importer` (both in one transaction), and
`__main__` (a worker beside it); then `rush`, in which all come at once, with limits, and with jobs that have an order.
The rest proves that what was promised is what happened.
"""
