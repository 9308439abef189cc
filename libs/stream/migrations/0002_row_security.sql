-- The ledger is the service's own: its rows are of all tenants, since the relay publishes for all of them, so the role
-- alone decides. The roles of a lower clearance have no part in it.

ALTER TABLE inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON inbox TO {service_role} USING (true);

ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON outbox TO {service_role} USING (true);
