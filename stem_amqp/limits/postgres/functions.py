"""The functions of limits in PostgreSQL; the rules are those of `stem_amqp.limits.decide`.

Their names end with a version: a release that changes one adds another, so that releases work side by side.
"""

from __future__ import annotations

from stem_amqp.limits import decide
from stem_amqp.limits.base import GRACE, HORIZON, MAXIMUM_WAIT, MINIMUM_WAIT

# ruff: noqa: S608 - the parts are our own texts and numbers

_CONSTANTS = {
    "c_grace": GRACE,
    "c_horizon": HORIZON,
    "c_maximum_wait": MAXIMUM_WAIT,
    "c_minimum_wait": MINIMUM_WAIT,
    "c_longest_spacing": decide.LONGEST_SPACING,
    "c_shortest_spacing": decide.SHORTEST_SPACING,
    "c_asks_of_a_run": decide.ASKS_OF_A_RUN,
    "c_asks_of_an_end": decide.ASKS_OF_AN_END,
    "c_first_duration": decide.FIRST_DURATION,
    "c_patience": decide.PATIENCE,
    "c_least_intervals": decide.LEAST_INTERVALS,
    "c_gap": decide.GAP,
    "c_idle_ttl": decide.IDLE_TTL,
}

LOCK_CLASS = 0x53746C6D
"""``Stlm`` in ASCII: the class of the advisory locks of limits."""
LOCKS = 64
"""Advisory locks of one namespace. A lock for each limit could exhaust the server's table of locks."""

# The locks come first, and the time after them: so the time never goes back for a limit. A statement in a
# function sees what was committed before it, so it sees what the former holder of the lock has written.
_LOCKED = f"""
    FOREACH i IN ARRAY p_locks LOOP
        PERFORM pg_advisory_xact_lock({LOCK_CLASS}, i);
    END LOOP;
    t_now := coalesce(p_now, extract(epoch FROM clock_timestamp()));
"""

_PURGE = """
    DELETE FROM stem_limit_starts WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM stem_limit_starts WHERE namespace = p_namespace AND expires <= t_now
        LIMIT 2 * cardinality(p_tokens) + 10 FOR UPDATE SKIP LOCKED));
    DELETE FROM stem_limit_leases WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM stem_limit_leases WHERE namespace = p_namespace AND expires <= t_now
        LIMIT 100 FOR UPDATE SKIP LOCKED));
    DELETE FROM stem_limits WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM stem_limits
        WHERE namespace = p_namespace AND expires_minute <= floor(t_now / 60)::bigint AND expires <= t_now
        LIMIT 100 FOR UPDATE SKIP LOCKED));
"""

ASK = (
    """
CREATE OR REPLACE FUNCTION stem_limits_ask_v1(
    p_namespace text, p_now float8, p_lease_ttl float8, p_locks integer[], p_keys text[],
    p_tokens text[], p_waited boolean[], p_hints float8[],
    p_ask integer[], p_key integer[], p_interval float8[], p_burst integer[], p_concurrency integer[],
    OUT o_wait float8[], OUT o_at float8[], OUT o_reserved boolean[], OUT o_key integer[]
) LANGUAGE plpgsql AS $function$
DECLARE
"""
    + "".join(f"    {name} CONSTANT float8 := {value!r};\n" for name, value in _CONSTANTS.items())
    + """
    -- of each limit
    s_arrival float8[]; s_overflow float8[]; s_interval float8[]; s_queue float8[];
    s_spacing float8[]; s_alive float8[]; s_mean float8[]; s_running bigint[];
    -- of each want
    w_start float8[]; w_leased boolean[]; w_keep_at float8[]; w_keep_until float8[]; w_lease boolean[];
    i integer; k integer; w integer; v_first integer := 1; v_last integer;
    v_waits integer; v_at float8; v_turn float8; v_start float8; v_horizon float8; v_ahead float8;
    v_reserved boolean; v_full boolean; v_waited boolean; t_now float8;
BEGIN
"""
    + _LOCKED
    + _PURGE
    + """
    SELECT array_agg(coalesce(l.arrival, 0) ORDER BY n), array_agg(coalesce(l.overflow, 0) ORDER BY n),
        array_agg(coalesce(l.interval, 0) ORDER BY n), array_agg(coalesce(l.queue, 0) ORDER BY n),
        array_agg(coalesce(l.spacing, 0) ORDER BY n), array_agg(coalesce(l.alive, 0) ORDER BY n),
        array_agg(coalesce(l.mean, 0) ORDER BY n),
        array_agg((SELECT count(*) FROM stem_limit_leases AS e
            WHERE e.namespace = p_namespace AND e.key = given.key AND e.expires > t_now) ORDER BY n)
    INTO s_arrival, s_overflow, s_interval, s_queue, s_spacing, s_alive, s_mean, s_running
    FROM unnest(p_keys) WITH ORDINALITY AS given (key, n)
    LEFT JOIN stem_limits AS l ON l.namespace = p_namespace AND l.key = given.key AND l.expires > t_now;

    SELECT array_agg(CASE WHEN given.interval > 0 THEN s.at END ORDER BY n),
        array_agg(e.token IS NOT NULL ORDER BY n)
    INTO w_start, w_leased
    FROM unnest(p_ask, p_key, p_interval) WITH ORDINALITY AS given (ask, key, interval, n)
    LEFT JOIN stem_limit_starts AS s ON s.namespace = p_namespace AND s.key = p_keys[given.key]
        AND s.token = p_tokens[given.ask] AND s.expires > t_now
    LEFT JOIN stem_limit_leases AS e ON e.namespace = p_namespace AND e.key = p_keys[given.key]
        AND e.token = p_tokens[given.ask] AND e.expires > t_now;

    w_keep_at := array_fill(NULL::float8, ARRAY[cardinality(p_key)]);
    w_keep_until := w_keep_at;
    w_lease := array_fill(false, ARRAY[cardinality(p_key)]);
    o_wait := array_fill(0::float8, ARRAY[cardinality(p_tokens)]);
    o_at := array_fill(t_now, ARRAY[cardinality(p_tokens)]);
    o_reserved := array_fill(true, ARRAY[cardinality(p_tokens)]);
    o_key := array_fill(0, ARRAY[cardinality(p_tokens)]);

    FOR i IN 1 .. cardinality(p_tokens) LOOP
        v_last := v_first - 1;
        WHILE v_last < cardinality(p_ask) AND p_ask[v_last + 1] = i LOOP
            v_last := v_last + 1;
        END LOOP;
        v_waited := p_waited[i];
        v_waits := NULL;
        v_reserved := false;

        -- leases: has_room and next_turn
        FOR w IN v_first .. v_last LOOP
            CONTINUE WHEN p_concurrency[w] = 0 OR w_leased[w];
            k := p_key[w];
            v_full := false;
            IF v_waited AND s_queue[k] > t_now THEN
                s_alive[k] := greatest(s_alive[k], t_now + s_spacing[k] + c_patience);
            ELSIF s_queue[k] > t_now AND s_alive[k] > t_now THEN
                v_full := true;
            END IF;
            IF v_full OR s_running[k] >= p_concurrency[w] THEN
                v_turn := CASE WHEN s_mean[k] > 0 THEN s_mean[k] WHEN p_hints[i] > 0 THEN p_hints[i]
                    ELSE c_first_duration END
                    / greatest(c_asks_of_a_run, c_asks_of_an_end * p_concurrency[w]);
                s_spacing[k] := least(greatest(v_turn, c_shortest_spacing), c_longest_spacing);
                v_turn := greatest(
                    CASE WHEN s_alive[k] > t_now THEN s_queue[k] ELSE 0 END + s_spacing[k],
                    t_now + greatest(s_spacing[k], c_minimum_wait));
                IF v_waits IS NULL OR v_turn > v_at THEN
                    v_waits := w;
                    v_at := v_turn;
                END IF;
            END IF;
        END LOOP;

        IF v_waits IS NOT NULL THEN
            k := p_key[v_waits];
            IF s_queue[k] <= t_now OR s_alive[k] <= t_now THEN
                s_alive[k] := v_at + c_patience;
            END IF;
            s_queue[k] := v_at;
            v_at := least(v_at, t_now + c_maximum_wait);
        ELSE
            -- rates: the latest start
            v_start := NULL;
            FOR w IN v_first .. v_last LOOP
                CONTINUE WHEN p_interval[w] = 0;
                v_turn := coalesce(w_start[w], greatest(
                    t_now, s_arrival[p_key[w]] - (p_burst[w] - 1) * p_interval[w]));
                IF v_start IS NULL OR v_turn > v_start THEN
                    v_waits := w;
                    v_start := v_turn;
                END IF;
            END LOOP;
            IF v_start IS NULL OR v_start <= t_now THEN
                v_waits := NULL;
            ELSE
                v_at := v_start;
                k := p_key[v_waits];
                v_reserved := v_first = v_last AND p_concurrency[v_waits] = 0;
                IF w_start[v_waits] IS NULL THEN
                    v_ahead := v_start - t_now;
                    v_horizon := greatest(c_horizon, c_least_intervals * p_interval[v_waits]);
                    s_interval[k] := p_interval[v_waits];
                    IF v_ahead <= v_horizon AND (v_waited OR s_overflow[k] <= s_arrival[k]
                            OR v_ahead <= c_gap * v_horizon) THEN
                        s_arrival[k] := greatest(s_arrival[k], t_now) + p_interval[v_waits];
                        w_keep_at[v_waits] := v_start;
                        w_keep_until[v_waits] := v_start + c_grace;
                    ELSE
                        IF NOT v_waited THEN
                            s_overflow[k] := greatest(s_overflow[k], s_arrival[k]) + p_interval[v_waits];
                            v_ahead := s_overflow[k] - t_now;
                        END IF;
                        v_at := t_now
                            + least(greatest(v_ahead - v_horizon / 2, c_minimum_wait), c_maximum_wait);
                        v_reserved := false;
                    END IF;
                END IF;
            END IF;
        END IF;

        FOR w IN v_first .. v_last LOOP
            k := p_key[w];
            IF v_waits IS NULL THEN
                IF p_interval[w] > 0 AND w_start[w] IS NULL THEN
                    s_interval[k] := p_interval[w];
                    s_arrival[k] := greatest(s_arrival[k], t_now) + p_interval[w];
                    w_keep_at[w] := t_now;
                    w_keep_until[w] := t_now + c_grace;
                END IF;
                IF p_concurrency[w] > 0 THEN
                    w_lease[w] := true;
                    IF NOT w_leased[w] THEN
                        s_running[k] := s_running[k] + 1;
                    END IF;
                END IF;
            ELSIF w_start[w] IS NOT NULL THEN
                w_keep_at[w] := w_start[w];
                w_keep_until[w] := greatest(w_start[w], v_at) + c_grace;
            END IF;
        END LOOP;
        IF v_waits IS NOT NULL THEN
            o_wait[i] := greatest(v_at - t_now, 0.000001);
            o_at[i] := v_at;
            o_reserved[i] := v_reserved;
            o_key[i] := p_key[v_waits];
        END IF;
        v_first := v_last + 1;
    END LOOP;

    INSERT INTO stem_limits AS old
        (namespace, key, arrival, overflow, interval, queue, spacing, alive, mean, expires)
    SELECT p_namespace, key, arrival, overflow, interval, queue, spacing, alive, mean,
        greatest(arrival, overflow, queue, CASE WHEN mean > 0 THEN t_now + c_idle_ttl ELSE t_now END)
    FROM unnest(p_keys, s_arrival, s_overflow, s_interval, s_queue, s_spacing, s_alive, s_mean)
        AS new (key, arrival, overflow, interval, queue, spacing, alive, mean)
    ON CONFLICT (namespace, key) DO UPDATE SET
        arrival = excluded.arrival, overflow = excluded.overflow, interval = excluded.interval,
        queue = excluded.queue, spacing = excluded.spacing, alive = excluded.alive,
        mean = excluded.mean, expires = excluded.expires;
    INSERT INTO stem_limit_starts AS old (namespace, key, token, at, expires)
    SELECT p_namespace, p_keys[new.key], p_tokens[new.ask], new.at, new.expires
    FROM unnest(p_key, p_ask, w_keep_at, w_keep_until) AS new (key, ask, at, expires)
    WHERE new.at IS NOT NULL
    ON CONFLICT (namespace, key, token) DO UPDATE SET at = excluded.at, expires = excluded.expires;
    INSERT INTO stem_limit_leases AS old (namespace, key, token, expires)
    SELECT p_namespace, p_keys[new.key], p_tokens[new.ask], t_now + p_lease_ttl
    FROM unnest(p_key, p_ask, w_lease) AS new (key, ask, lease) WHERE new.lease
    ON CONFLICT (namespace, key, token) DO UPDATE SET expires = excluded.expires;
END
$function$;
"""
)
"""Decides asks. A want has the number of its ask and of its limit; 0 for what it has not. The wants of an ask
follow each other. The reply has an element for each ask; the number of the limit is 0 if it starts now."""

RENEW = (
    """
CREATE OR REPLACE FUNCTION stem_limits_renew_v1(
    p_namespace text, p_now float8, p_ttl float8, p_locks integer[], p_keys text[], p_tokens text[],
    OUT o_held boolean[]
) LANGUAGE plpgsql AS $function$
DECLARE
    t_now float8;
    i integer;
BEGIN
"""
    + _LOCKED
    + """
    SELECT array_agg(e.token IS NOT NULL ORDER BY n) INTO o_held
    FROM unnest(p_keys, p_tokens) WITH ORDINALITY AS given (key, token, n)
    LEFT JOIN stem_limit_leases AS e ON e.namespace = p_namespace AND e.key = given.key
        AND e.token = given.token AND e.expires > t_now;
    INSERT INTO stem_limit_leases AS old (namespace, key, token, expires)
    SELECT DISTINCT p_namespace, given.key, given.token, t_now + p_ttl
    FROM unnest(p_keys, p_tokens) AS given (key, token)
    ON CONFLICT (namespace, key, token) DO UPDATE SET expires = excluded.expires;
END
$function$;
"""
)
"""Extends leases, given as pairs of limit and token; the reply says of each pair whether it was held."""

RELEASE = (
    """
CREATE OR REPLACE FUNCTION stem_limits_release_v1(
    p_namespace text, p_now float8, p_locks integer[], p_keys text[], p_tokens text[], p_at float8[]
) RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    t_now float8;
    i integer;
    v_smoothing CONSTANT float8 := """
    + repr(decide.SMOOTHING)
    + """;
    v_idle_ttl CONSTANT float8 := """
    + repr(decide.IDLE_TTL)
    + """;
    v_duration float8;
BEGIN
"""
    + _LOCKED
    + """
    FOR i IN 1 .. cardinality(p_keys) LOOP
        DELETE FROM stem_limit_leases
        WHERE namespace = p_namespace AND key = p_keys[i] AND token = p_tokens[i] AND expires > t_now;
        CONTINUE WHEN NOT FOUND;
        -- not 0, which says that no run has ended
        v_duration := greatest(t_now - p_at[i], 0.000001);
        INSERT INTO stem_limits AS old
            (namespace, key, arrival, overflow, interval, queue, spacing, alive, mean, expires)
        VALUES (p_namespace, p_keys[i], 0, 0, 0, 0, 0, 0, v_duration, t_now + v_idle_ttl)
        ON CONFLICT (namespace, key) DO UPDATE SET
            arrival = CASE WHEN old.expires > t_now THEN old.arrival ELSE 0 END,
            overflow = CASE WHEN old.expires > t_now THEN old.overflow ELSE 0 END,
            queue = CASE WHEN old.expires > t_now THEN old.queue ELSE 0 END,
            mean = CASE WHEN old.expires > t_now AND old.mean > 0
                THEN old.mean + (v_duration - old.mean) * v_smoothing ELSE v_duration END,
            expires = greatest(old.expires, t_now + v_idle_ttl);
    END LOOP;
END
$function$;
"""
)
"""Ends leases, given as limit, token and the time when they were granted."""

FUNCTIONS = (ASK, RENEW, RELEASE)
