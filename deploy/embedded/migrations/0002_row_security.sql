-- Spans are of all tenants and hold no text of anybody's; only the receiver of traces reads and writes them.

ALTER TABLE spans ENABLE ROW LEVEL SECURITY;
ALTER TABLE spans FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_service ON spans TO {service_role} USING (true);
