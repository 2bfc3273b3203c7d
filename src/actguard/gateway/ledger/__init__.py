"""What a reserve, a settle, an extension and a release do to budgets. Integers and rows in, integers and rows out.

Nothing here knows a database, a socket or a clock. The invariants, on every budget, always:

* what is spent and held together is at most the limit whenever a hold is granted;
* a hold ends once: settled, released or expired; one that ended unsettled may still be settled late, once;
* what is charged equals the sum of the settles; a counter equals the sum of the ledger rows that touch it;
* no amount is ever below zero, and nothing is clamped to make that so;
* a hold on several budgets is taken on all of them or on none.
"""
