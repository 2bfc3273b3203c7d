-- TRUNCATE asks no trigger of rows.
CREATE TRIGGER ledger_is_not_truncated BEFORE TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_not_changed();
