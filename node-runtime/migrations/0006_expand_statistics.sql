-- Figures that stay quick at any size: users are counted as they change, money by closed days.
CREATE TABLE local_node.user_counts (
    role  text COLLATE "C" PRIMARY KEY,
    users bigint NOT NULL
);
CREATE TABLE local_node.sign_in_days (
    day   date PRIMARY KEY,
    users bigint NOT NULL
);
GRANT SELECT, INSERT, UPDATE ON local_node.user_counts, local_node.sign_in_days TO fateh_runtime;
-- From here to the triggers no user may be written uncounted.
LOCK TABLE local_node.local_users IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO local_node.user_counts
SELECT role, count(*) FROM local_node.local_users WHERE status <> 'deleted' GROUP BY role;
INSERT INTO local_node.sign_in_days
SELECT (last_sign_in AT TIME ZONE 'UTC')::date, count(*) FROM local_node.local_users
WHERE status <> 'deleted' AND last_sign_in IS NOT NULL GROUP BY 1;

-- Once a statement, however many rows it writes; in one order, so that two never wait for each other.
CREATE FUNCTION local_node.count_new_users() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO local_node.user_counts AS c
    SELECT role, count(*) FROM new_rows WHERE status <> 'deleted' GROUP BY role ORDER BY role
    ON CONFLICT (role) DO UPDATE SET users = c.users + excluded.users;
    INSERT INTO local_node.sign_in_days AS d
    SELECT (last_sign_in AT TIME ZONE 'UTC')::date AS day, count(*) FROM new_rows
    WHERE status <> 'deleted' AND last_sign_in IS NOT NULL GROUP BY 1 ORDER BY 1
    ON CONFLICT (day) DO UPDATE SET users = d.users + excluded.users;
    RETURN NULL;
END
$$;
CREATE FUNCTION local_node.count_changed_users() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO local_node.user_counts AS c
    SELECT role, sum(n) FROM (
        SELECT role, 1 AS n FROM new_rows WHERE status <> 'deleted'
        UNION ALL SELECT role, -1 FROM old_rows WHERE status <> 'deleted') AS moved
    GROUP BY role HAVING sum(n) <> 0 ORDER BY role
    ON CONFLICT (role) DO UPDATE SET users = c.users + excluded.users;
    INSERT INTO local_node.sign_in_days AS d
    SELECT day, sum(n) FROM (
        SELECT (last_sign_in AT TIME ZONE 'UTC')::date AS day, 1 AS n FROM new_rows WHERE status <> 'deleted'
        UNION ALL
        SELECT (last_sign_in AT TIME ZONE 'UTC')::date, -1 FROM old_rows WHERE status <> 'deleted') AS moved
    WHERE day IS NOT NULL GROUP BY day HAVING sum(n) <> 0 ORDER BY day
    ON CONFLICT (day) DO UPDATE SET users = d.users + excluded.users;
    RETURN NULL;
END
$$;
CREATE TRIGGER count_new_users AFTER INSERT ON local_node.local_users
REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION local_node.count_new_users();
CREATE TRIGGER count_changed_users AFTER UPDATE ON local_node.local_users
REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION local_node.count_changed_users();

-- Days that no transaction can add to any more, by the time at which rows were recorded.
CREATE TABLE local_node.revenue_days (
    day           date NOT NULL,
    currency      text COLLATE "C" NOT NULL,
    gross_minor   bigint NOT NULL,
    fee_minor     bigint NOT NULL,
    net_minor     bigint NOT NULL,
    refunds_minor bigint NOT NULL,
    PRIMARY KEY (day, currency)
);
CREATE TABLE local_node.closed_days (
    singleton boolean PRIMARY KEY CHECK (singleton),
    until     timestamptz NOT NULL
);
INSERT INTO local_node.closed_days VALUES (true, 'epoch');
CREATE INDEX local_revenues_recorded ON local_node.local_revenues (created_at);
CREATE INDEX local_refunds_recorded ON local_node.local_refunds (created_at);
GRANT SELECT, INSERT ON local_node.revenue_days TO fateh_runtime;
GRANT SELECT, UPDATE (until) ON local_node.closed_days TO fateh_runtime;
