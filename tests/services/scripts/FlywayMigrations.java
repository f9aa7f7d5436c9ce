import org.flywaydb.core.Flyway;

/** Conductor's PostgreSQL migrations, as its jar ships them: host, port, database, user, options. */
public class FlywayMigrations {
  public static void main(String[] given) {
    String url = String.format(
        "jdbc:postgresql://%s:%s/%s?options=%s", given[0], given[1], given[2], given[4]);
    Flyway flyway = Flyway.configure()
        .dataSource(url, given[3], "")
        .locations("classpath:db/migration_postgres")
        .baselineOnMigrate(true)
        .baselineVersion("0")
        .load();
    int count = flyway.migrate().migrationsExecuted;
    flyway.validate();
    System.out.println(count == 8 ? "good" : "ran " + count);
  }
}
