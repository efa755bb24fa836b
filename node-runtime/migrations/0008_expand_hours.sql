-- The hours of a day that have ended are added to its sums, so that at any time of the day little is left to sum up.
GRANT UPDATE ON local_node.revenue_days TO fateh_runtime;
