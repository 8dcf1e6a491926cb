import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.StringJoiner;

import org.postgresql.util.PSQLException;

/**
 * The story of an order, from Java 17 with JDBC (org.postgresql:postgresql, or Debian's libpostgresql-jdbc-java).
 *
 * <pre>java -cp /usr/share/java/postgresql.jar Shop.java 'jdbc:postgresql://localhost/shop?user=shop&amp;password=...'</pre>
 *
 * shop.sql makes the database.
 */
public class Shop {
    record Order(long id, BigDecimal total, Instant placedAt, String lines) {}

    record Recorded(long points, boolean replayed) {}

    record Posted(long entryId, long available) {}

    interface Work<T> {
        T run() throws SQLException;
    }

    private final Connection connection;

    Shop(Connection connection) {
        this.connection = connection;
    }

    /** All of it is committed, or nothing. */
    <T> T transaction(Work<T> work) throws SQLException {
        connection.setAutoCommit(false);
        try {
            T result = work.run();
            connection.commit();
            return result;
        } catch (SQLException | RuntimeException e) {
            connection.rollback();
            throw e;
        } finally {
            connection.setAutoCommit(true);
        }
    }

    /** Who it is: found by any identifier, made where there is none. */
    long resolveMember(String identifiers, String attributes) throws SQLException {
        // the driver sends a String as text: jsonb needs the cast (and an operator such as ? is written ??)
        try (PreparedStatement s = connection.prepareStatement(
                "SELECT member_id FROM loyalty.resolve_member(?::jsonb, 'web', ?::jsonb)")) {
            s.setString(1, identifiers);
            s.setString(2, attributes);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                return r.getLong("member_id");
            }
        }
    }

    void insertOrder(long memberId, Order order) throws SQLException {
        try (PreparedStatement s = connection.prepareStatement("""
                INSERT INTO shop_order (order_id, member_id, total, placed_at)
                VALUES (?, ?, ?, ?) ON CONFLICT (order_id) DO NOTHING""")) {
            s.setLong(1, order.id());
            s.setLong(2, memberId);
            s.setBigDecimal(3, order.total());
            // timestamptz is an OffsetDateTime
            s.setObject(4, order.placedAt().atOffset(ZoneOffset.UTC));
            s.executeUpdate();
        }
    }

    /**
     * The order and its points in one commit.  Whoever got no answer calls it again with the same arguments: the key
     * makes it one order, and the answer is the first one.
     */
    Recorded placeOrder(long memberId, Order order) throws SQLException {
        return transaction(() -> {
            insertOrder(memberId, order);
            // arguments by name (lines => ?), so that those between may be left out
            try (PreparedStatement s = connection.prepareStatement("""
                    SELECT points, replayed
                      FROM loyalty.record_activity(?, 'order', ?, lines => ?::jsonb, external_id => ?, idempotency_key => ?)""")) {
                s.setLong(1, memberId);
                s.setObject(2, order.placedAt().atOffset(ZoneOffset.UTC));
                s.setString(3, order.lines());
                s.setString(4, Long.toString(order.id()));
                s.setString(5, "order " + order.id());
                try (ResultSet r = s.executeQuery()) {
                    r.next();
                    return new Recorded(r.getLong("points"), r.getBoolean("replayed"));
                }
            }
        });
    }

    /** An order paid with points: without the points there is no order. */
    Posted payWithPoints(long memberId, Order order, long points) throws SQLException {
        return transaction(() -> {
            insertOrder(memberId, order);
            try (PreparedStatement s = connection.prepareStatement(
                    "SELECT entry_id, available FROM loyalty.redeem(?, ?, reference => ?, idempotency_key => ?)")) {
                s.setLong(1, memberId);
                s.setLong(2, points);
                s.setString(3, Long.toString(order.id()));
                s.setString(4, "payment " + order.id());
                return posted(s);
            }
        });
    }

    /**
     * Sets points aside while something else is paid.  Nobody has to release them: a hold lapses by itself.  Until when
     * is an argument, and not now() + ... in the call: that would be another one when the call is repeated (LY004).
     */
    Posted hold(long memberId, long points, Instant until, String key) throws SQLException {
        try (PreparedStatement s = connection.prepareStatement(
                "SELECT entry_id, available FROM loyalty.hold(?, ?, ?, idempotency_key => ?)")) {
            s.setLong(1, memberId);
            s.setLong(2, points);
            s.setObject(3, until.atOffset(ZoneOffset.UTC));
            s.setString(4, key);
            return posted(s);
        }
    }

    /** Takes what was set aside; what is not taken is free again. */
    Posted capture(long memberId, long hold, long points, String key) throws SQLException {
        try (PreparedStatement s = connection.prepareStatement(
                "SELECT entry_id, available FROM loyalty.capture(?, ?, ?, idempotency_key => ?)")) {
            s.setLong(1, memberId);
            s.setLong(2, hold);
            s.setLong(3, points);
            s.setString(4, key);
            return posted(s);
        }
    }

    private static Posted posted(PreparedStatement s) throws SQLException {
        try (ResultSet r = s.executeQuery()) {
            r.next();
            return new Posted(r.getLong("entry_id"), r.getLong("available"));
        }
    }

    void tell() throws SQLException {
        long memberId = resolveMember("{\"email\": \"Ann@Example.org\"}", "{\"name\": \"Ann\"}");
        // A statement of its own: what a function writes is there for the next one.  jsonb comes as its text, for a
        // JSON library; a single value is fetched by SQL.
        try (PreparedStatement s = connection.prepareStatement("SELECT attributes ->> 'name' FROM loyalty.member WHERE member_id = ?")) {
            s.setLong(1, memberId);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                System.out.println("member " + memberId + " is " + r.getString(1));
            }
        }

        Order tea = new Order(1001, new BigDecimal("120.50"), Instant.parse("2026-02-03T10:00:00Z"),
                "[{\"sku\": \"TEA\", \"amount\": 40.5}, {\"sku\": \"CUP\", \"quantity\": 2, \"amount\": 80}]");
        for (int attempt = 1; attempt <= 2; attempt++) {
            Recorded recorded = placeOrder(memberId, tea);
            System.out.println("order " + tea.id() + ": " + recorded.points() + " points" + (recorded.replayed() ? ", as answered before" : ""));
        }

        // bigint is long, numeric BigDecimal; NULL is null of an object, and 0 of getLong(), where wasNull() tells
        try (PreparedStatement s = connection.prepareStatement("SELECT available, held, next_expiry_at FROM loyalty.balance(?)")) {
            s.setLong(1, memberId);
            try (ResultSet r = s.executeQuery()) {
                r.next();
                OffsetDateTime expiry = r.getObject("next_expiry_at", OffsetDateTime.class);
                System.out.println(r.getLong("available") + " available, " + r.getLong("held") + " held, the next expire "
                        + (expiry == null ? "never" : expiry.toInstant()));
            }
        }

        try (PreparedStatement s = connection.prepareStatement("SELECT effective_at, kind, points, reference FROM loyalty.statement(?)")) {
            s.setLong(1, memberId);
            try (ResultSet r = s.executeQuery()) {
                while (r.next()) {
                    System.out.println(r.getObject("effective_at", OffsetDateTime.class).toInstant() + " " + r.getString("kind") + " "
                            + r.getLong("points") + ", order " + r.getString("reference"));
                }
            }
        }

        try {
            payWithPoints(memberId, new Order(1002, new BigDecimal("500.00"), Instant.parse("2026-02-04T10:00:00Z"), null), 500);
        } catch (PSQLException e) {
            // a refusal has an SQLSTATE of class LY; anything else is a fault
            if (e.getSQLState() == null || !e.getSQLState().startsWith("LY")) {
                throw e;
            }
            var refusal = e.getServerErrorMessage();
            System.out.println(e.getSQLState() + ": " + refusal.getMessage());
            System.out.println("detail: " + refusal.getDetail());
            System.out.println("hint: " + refusal.getHint());
        }
        StringJoiner orders = new StringJoiner(", ", "orders: ", "");
        try (PreparedStatement s = connection.prepareStatement("SELECT order_id, total FROM shop_order ORDER BY order_id");
                ResultSet r = s.executeQuery()) {
            while (r.next()) {
                orders.add(r.getLong("order_id") + " of " + r.getBigDecimal("total"));
            }
        }
        System.out.println(orders);

        Posted hold = hold(memberId, 100, Instant.now().plus(Duration.ofMinutes(15)), "hold for order 1003");
        System.out.println("held 100, " + hold.available() + " available");
        Posted capture = capture(memberId, hold.entryId(), 60, "payment of order 1003");
        System.out.println("captured 60, " + capture.available() + " available");
    }

    public static void main(String[] args) throws SQLException {
        try (Connection connection = DriverManager.getConnection(args[0])) {
            new Shop(connection).tell();
        }
    }
}
