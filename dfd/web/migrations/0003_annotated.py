from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("web", "0002_batches_and_parts"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="annotated",
            field=models.CharField(
                blank=True, default="", help_text="name of the file with the scores drawn in", max_length=20
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="annotated_message",
            field=models.TextField(blank=True, default=""),
        ),
    ]
